"""One file for each wire. `registry` maps an address's scheme to its module."""
