from .folder import FORMATS as FORMATS
from .folder import export_model as export_model
from .folder import export_run as export_run
from .table_values import tensor_names as tensor_names
from .web.explorer import Explorer as Explorer
from .web.explorer import explore as explore
