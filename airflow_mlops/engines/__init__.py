"""Where rows are read and counted: files, SQL through hooks, DataFrames."""
