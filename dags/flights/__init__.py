"""What the flights DAGs share: where things lie, how features are made, and the model."""
