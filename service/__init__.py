"""The Django project of Altprop: API, admin panel, job engine and the stack that runs them."""
