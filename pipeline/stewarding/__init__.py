"""What the steward does, apart from the process it is: let jobs in, follow collections, repair, start from nothing."""
