"""Looking ahead of the work: what there is, how much work it is, what would be refused."""
