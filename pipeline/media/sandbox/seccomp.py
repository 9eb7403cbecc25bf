"""The system calls that a program in the sandbox may make: a filter for the kernel, as bytes. Pure, but for `install`.

What no decoder needs is refused: sockets, other processes, namespaces, mounts, tracing, keys, modules of the kernel,
clocks, new owners, modes and times of files: standard input is the host's /dev/null. The numbers of calls are those of
Linux, one column for each machine. Calls newer than Linux 5.1 have the same number everywhere; all of them are answered
as by a kernel that has not got them, which programs know how to do without.
"""

import ctypes
import os
import platform
import struct

from pipeline.errors import WorldError

#: Name of the machine, and how the kernel marks calls made in its way (AUDIT_ARCH_*).
_MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_FIRST_NEW = 424  # pidfd_send_signal; on x86_64 the calls of the x32 ABI lie above it, too
#: Refused calls: their numbers on x86_64 and aarch64.
_REFUSED: dict[str, tuple[int, int]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "quotactl": (179, 60),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "inotify_init1": (294, 26),
    "personality": (135, 92),
    "memfd_create": (319, 279),
    "io_setup": (206, 0),
    "vmsplice": (278, 75),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "vhangup": (153, 58),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "flock": (73, 32),
}
_ON_X86_64 = {
    **{"fork": 57, "vfork": 58, "inotify_init": 253, "modify_ldt": 154, "iopl": 172, "ioperm": 173},
    **{"chmod": 90, "chown": 92, "lchown": 94, "utime": 132, "utimes": 235, "futimesat": 261},
}
_CLONE = {"x86_64": 56, "aarch64": 220}
_PRCTL = {"x86_64": 157, "aarch64": 167}
_CLONE_THREAD = 0x0001_0000
_CLONE_NAMESPACES = 0x7E02_0000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_PR_SET_PDEATHSIG = 1  # would let a process outlive the one that started it

# The machine of the filter: what it loads (offsets in struct seccomp_data), how it jumps, what it can say.
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL = 0x7FFF_0000, 0x8000_0000
_REFUSE, _UNKNOWN = 0x0005_0000 | 1, 0x0005_0000 | 38  # EPERM, ENOSYS
_VERDICTS = (_ALLOW, _KILL, _REFUSE, _UNKNOWN)

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2

#: An instruction; of a jump, how many instructions it skips if true and if false, or a verdict.
_Instruction = tuple[int, int, int, int]


def program(machine: str, *, may_fork: bool) -> bytes:
    """A filter as bwrap and `install` take it: an array of struct sock_filter.

    Threads may always be made, processes only if `may_fork`. Raises WorldError for a machine it does not know.
    """
    if machine not in _MACHINES:
        raise WorldError(f"there is no filter of system calls for this kind of machine ({machine})")
    refused = [numbers[machine == "aarch64"] for numbers in _REFUSED.values()]
    refused += _ON_X86_64.values() if machine == "x86_64" else ()
    of_clone: list[_Instruction] = [(_ANY_BIT, _CLONE_NAMESPACES, _REFUSE, 0)]
    if not may_fork:
        of_clone.append((_ANY_BIT, _CLONE_THREAD, 0, _REFUSE))
    return _assembled(
        [
            (_LOAD, _MACHINE, 0, 0),
            (_EQUAL, _MACHINES[machine], 0, _KILL),
            (_LOAD, _NUMBER, 0, 0),
            (_AT_LEAST, _FIRST_NEW, _UNKNOWN, 0),
            *((_EQUAL, number, _REFUSE, 0) for number in sorted(refused)),
            (_EQUAL, _PRCTL[machine], 0, 2),
            (_LOAD, _FIRST_ARGUMENT, 0, 0),
            (_EQUAL, _PR_SET_PDEATHSIG, _REFUSE, _ALLOW),
            (_EQUAL, _CLONE[machine], 0, _ALLOW),
            (_LOAD, _FIRST_ARGUMENT, 0, 0),
            *of_clone,
        ]
    )


def install(*, may_fork: bool) -> None:
    """Put this process, and all that it starts, under the filter for good. Raises OSError."""
    filters = program(platform.machine(), may_fork=may_fork)
    held = ctypes.create_string_buffer(filters)
    header = ctypes.create_string_buffer(struct.pack("@HP", len(filters) // 8, ctypes.addressof(held)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header)):
        if libc.prctl(*arguments):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def _assembled(instructions: list[_Instruction]) -> bytes:
    """The verdicts go behind the instructions; a jump to one becomes the distance to it."""
    end = len(instructions)

    def distance(target: int, place: int) -> int:
        return end + _VERDICTS.index(target) - place - 1 if target in _VERDICTS else target

    body = [
        struct.pack("<HBBI", code, distance(true, place), distance(false, place), operand)
        for place, (code, operand, true, false) in enumerate(instructions)
    ]
    return b"".join(body) + b"".join(struct.pack("<HBBI", _RETURN, 0, 0, verdict) for verdict in _VERDICTS)
