"""Pictures and animations as JPEGs of the size that an engine takes, read in a process of their own."""
