"""`make bench`: all benchmarks that need no GPU, one table after another."""

from bench import core, lock, overload, serving

for module in (core, serving, lock, overload):
    print(f"\n## {(module.__doc__ or '').splitlines()[0]}\n", flush=True)
    module.main()
