"""``python -m fastloss info`` prints the configuration, ``demo`` trains on real digits, ``gallery`` draws every function."""

import argparse
import sys

import fastloss as fl


def main(argv=None):
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fastloss", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="version, backends, instruction set and threads")
    demo = commands.add_parser("demo", help="train a classifier on handwritten digits, beside NumPy")
    demo.add_argument("--epochs", type=int, default=30, help="passes over the data (default 30)")
    demo.add_argument("--png", metavar="FILE", help="write loss curves and times there")
    gallery = commands.add_parser("gallery", help="draw every elementwise activation and loss with its derivatives")
    gallery.add_argument("--png", metavar="FILE", default="gallery.png", help="where (default gallery.png)")
    arguments = parser.parse_args(argv)
    if arguments.command == "info":
        fl.show_config()
        return 0
    if arguments.command == "gallery":
        from fastloss import _gallery  # matplotlib is needed there alone

        return _gallery.main(arguments.png)
    from fastloss import _demo  # scikit-learn and rich are needed by the demo alone

    return _demo.main(epochs=arguments.epochs, png=arguments.png)


if __name__ == "__main__":
    sys.exit(main())
