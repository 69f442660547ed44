"""The type checker that pytest puts around every function of the package: beartype, where an int passes for a float."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
