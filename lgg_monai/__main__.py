"""``python -m lgg_monai`` is ``lgg-monai``."""

from lgg_monai.cli import main

main()
