from .architecture import Architecture as Architecture
from .choices import CHOICES as CHOICES
from .choices import RECIPES as RECIPES
from .json_file import from_json as from_json
from .json_file import to_json as to_json
from .training import Every as Every
from .training import Training as Training
