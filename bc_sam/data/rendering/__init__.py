"""Blood cells drawn from geometry and optics: shapes, then stained matter, then the laboratory's photograph of it."""
