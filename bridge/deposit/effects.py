"""What a deposit asks of the shell: a mint to be signed, a mint to be posted, the operator to be told."""

from bridge.treasury.machine import Alarm, Effect, PostCertificate, RequestSignature

__all__ = ["Alarm", "Effect", "PostCertificate", "RequestSignature"]
