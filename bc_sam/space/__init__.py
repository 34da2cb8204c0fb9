"""The web page for haematologists: one cell, a slide, laboratories, the model. Only this package imports Gradio."""
