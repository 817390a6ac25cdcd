"""Facts about the installation and the machine for bug reports: `pelee doctor`."""
