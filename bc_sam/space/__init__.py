"""The page that a haematologist uses: one cell, a slide, laboratories, the model. Gradio is imported only here."""
