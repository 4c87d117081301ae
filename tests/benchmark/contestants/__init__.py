"""What is compared. Each module has `prepare(case, images)`, which returns what does a number of examples."""
