"""What a native speaker would write neither on a page nor in a help text."""

import re

ODD = re.compile(r"\b(anew|whoever|go(es|ing)? on with|is no more|ha(s|ve) left goes?)\b", re.IGNORECASE)
