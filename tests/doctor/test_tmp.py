import trueformer
def test_x(planted):
    import sys; sys.path.insert(0,"/tmp/w/reports/tests/doctor")
    from test_runner import model_of
    for line in ("",'if ids.shape[0] > 1: raise KeyError("one row only")'):
        r=trueformer.check(model_of(planted(line)))
        for x in r.broken: print(x.law.id, x.reason[:1500])
