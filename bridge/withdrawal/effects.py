"""What a withdrawal asks of the shell: a settlement to be signed or posted, the operator to be told."""

from bridge.treasury.machine import Alarm, Effect, PostCertificate, RequestSignature

__all__ = ["Alarm", "Effect", "PostCertificate", "RequestSignature"]
