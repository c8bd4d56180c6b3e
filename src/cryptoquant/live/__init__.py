"""Trading in the present, carefully: the trader, its journal, its broker and its feed."""
