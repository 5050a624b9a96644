"""The review app: `medres app --model MODEL --scores DIR` starts it, behind the door of `gate.py`.

Decoding happens in worker processes, and each of them imports this file by another name: nothing but the guarded line
below may run in them.
"""

if __name__ == "__main__":
    from shell import main

    main()
