# A guest for storms: it rests in hlt, and after a key on its serial port does one thing.
#
#   p  power off through ACPI
#   c  panic through pvpanic
#   r  reset
#   t  triple fault
#   w  write a sector of the first disk, again and again until that succeeds; then prints +
#   f  print without end, until the next key
#
# It prints "up" when it is ready for a key, and powers itself off at the power button. pc and q35; SeaBIOS puts the
# ACPI registers at 0x600 on either.

        .intel_syntax noprefix
        .code16
        .globl  _start
_start:
        ljmp    0, offset main
main:
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, 0x7c00
        mov     [drive], dl
        mov     dx, 0x602               # QEMU tells of the power button only if it is enabled
        mov     ax, 0x100
        out     dx, ax
        mov     al, 'u'
        call    print
        mov     al, 'p'
        call    print
        mov     al, '\n'
        call    print
idle:
        sti
        hlt                             # the BIOS's clock wakes it 18 times a second
        mov     dx, 0x600
        in      ax, dx
        test    ax, 0x100
        jnz     power_off
        call    key
        je      idle
        cmp     al, 'p'
        je      power_off
        cmp     al, 'c'
        je      panic
        cmp     al, 'r'
        je      reset
        cmp     al, 't'
        je      triple_fault
        cmp     al, 'w'
        je      write
        cmp     al, 'f'
        je      flood
        jmp     idle
power_off:
        mov     dx, 0x604
        mov     ax, 0x2000
        out     dx, ax
        jmp     idle
panic:
        mov     dx, 0x505
        mov     al, 1
        out     dx, al
        jmp     idle
reset:
        mov     al, 0xfe
        out     0x64, al
        jmp     idle
triple_fault:
        lidt    none
        int3
write:
        mov     ax, 0x0301              # one sector
        mov     cx, 1                   # the first of a track far from this one
        mov     dh, 15
        mov     dl, [drive]
        mov     bx, 0x8000
        int     0x13
        jc      write
        mov     al, '+'
        call    print
        jmp     idle
flood:
        mov     al, '#'
        call    print
        call    key
        je      flood
        jmp     idle
key:                                    # ZF: there is none; else it is in al
        mov     dx, 0x3fd
        in      al, dx
        test    al, 1
        jz      1f
        mov     dx, 0x3f8
        in      al, dx
        test    al, al
1:      ret
print:
        mov     ah, al
        mov     dx, 0x3fd
1:      in      al, dx
        test    al, 0x20
        jz      1b
        mov     al, ah
        mov     dx, 0x3f8
        out     dx, al
        ret
drive:  .byte   0
none:   .word   0
        .long   0
        .org    510
        .word   0xaa55
