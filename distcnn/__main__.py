"""``python -m distcnn``."""

from distcnn.cli import main

if __name__ == "__main__":
    main()
