from pathlib import Path

import pytest

needs_checkout = pytest.mark.skipif(not (Path(__file__).parents[1] / "fastloss").is_dir(), reason="not a checkout")
