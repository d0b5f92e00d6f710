"""What is anchored and how to check it alone: records, their tree, the manifest, ranges, the proof file.

``records`` what a rollup wants anchored · ``tree`` many records under one root · ``manifest`` leaf 0 ·
``ranges`` how blocks become records, and the certificates beside them · ``coverage`` which ranges anchors hold ·
``proof`` the verifier · ``proof_file`` the file and its one spelling · ``proof_maker`` where it comes from.
"""
