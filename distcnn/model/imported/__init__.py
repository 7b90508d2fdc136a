"""Networks trained elsewhere: read from their own files, held and run as ours.

``keras_file`` takes layers and weights out of a file, ``keras_layers`` says what each layer of
Keras is here, ``layers`` runs them, ``scaling`` turns a star into what they take.
"""
