"""`python -m nerula` is `nerula`: what torchrun starts with `-m nerula pretrain ...`."""

from nerula.cli import main

if __name__ == "__main__":
    main()
