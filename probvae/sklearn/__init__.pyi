from .imputer import VAEImputer as VAEImputer
from .transformer import VAETransformer as VAETransformer
