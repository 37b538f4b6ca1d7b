/* Random bytes for Rust's standard library under wine 8, which has no bcryptprimitives.dll. For
   tests only: Windows has its own, and nothing of this is shipped. */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

/* RtlGenRandom of advapi32 by its exported name. */
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count)
{
    while (count) {
        ULONG part = count > 0x10000000 ? 0x10000000 : (ULONG)count;
        if (!SystemFunction036(bytes, part))
            return FALSE;
        bytes += part;
        count -= part;
    }
    return TRUE;
}
