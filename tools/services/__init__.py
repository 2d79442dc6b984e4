"""Real servers started from packages: nothing has to run on the machine beforehand."""
