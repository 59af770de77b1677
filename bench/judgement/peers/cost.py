"""What a peer's process has used so far, as the one line of JSON that the bench reads."""
import json
import resource


def report(**more):
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    print("\n" + json.dumps({"cpu": cpu, "rssMb": own.ru_maxrss / 1024, **more}))
