"""How well each method could show some objects: decode(ideal(truth)), and what is preferred by it."""
