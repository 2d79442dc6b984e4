"""The admin's pages under django-unfold."""
