"""`make bench`: the benchmarks that need no GPU, one table after another; overload has a command of its own."""

from bench import core, lock, serving

for module in (core, serving, lock):
    print(f"\n## {(module.__doc__ or '').splitlines()[0]}\n", flush=True)
    module.main()
