"""What a checkout is set up, tried and tested with: `make demo`, `make cluster`, `make test` and what they share."""
