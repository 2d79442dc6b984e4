"""Real servers that the tests start themselves, from packages: nothing has to run on the machine beforehand."""
