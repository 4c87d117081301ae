from .imputer import VAEImputer as VAEImputer
from .outlier import VAEOutlier as VAEOutlier
from .transformer import VAETransformer as VAETransformer
