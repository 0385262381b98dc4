"""The composition root: services and workers, built from the settings and the parts of all other packages."""
