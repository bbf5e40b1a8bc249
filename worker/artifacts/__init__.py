# TEMPORARY STUB
class S:
    def __init__(self,url): self.url=url
    def check(self): pass
def open_store(url): return S(url)
