"""Networks trained elsewhere: read from their own files, held and run as ours.

``keras_file`` takes layers and weights out of a file, ``keras_layers`` says what each layer of
Keras is here, ``keras_network`` what a whole network is, ``layers`` runs them, ``scaling`` turns a
star into what they take.
"""
