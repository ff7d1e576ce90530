"""qsup keeps QEMU guests running: a daemon, ``qsupd``, and the command that talks to it, ``qsup``."""

__version__ = "0.1.0"
