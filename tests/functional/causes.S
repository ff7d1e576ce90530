# A guest for the tests of causes: after a key on its serial port it does one thing that ends or disturbs guests.
#
#   p  power off through ACPI
#   c  panic through pvpanic
#   l  a crash kernel is loaded, says pvpanic; then a reset
#   r  reset
#   t  triple fault
#   w  arm the ib700 watchdog, and feed it no more
#   d  write a sector to the first disk, again and again; prints + for each that was written
#   x  run into an address where there is neither RAM nor ROM
#   h  hang: rest with interrupts off
#   e  end QEMU through isa-debug-exit, with status 33
#
# It prints a dot when it is ready for a key. q35 and pc; SeaBIOS puts the ACPI registers at 0x600 on either.

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
        mov     al, '.'
        call    print
1:      hlt                             # until the BIOS's next tick, 55 ms at most
        mov     dx, 0x3fd
        in      al, dx
        test    al, 1
        jz      1b
        mov     dx, 0x3f8
        in      al, dx
        cmp     al, 'p'
        je      power_off
        cmp     al, 'c'
        je      panic
        cmp     al, 'l'
        je      crash_kernel
        cmp     al, 'r'
        je      reset
        cmp     al, 't'
        je      triple_fault
        cmp     al, 'w'
        je      watchdog
        cmp     al, 'd'
        je      write
        cmp     al, 'h'
        je      hang
        cmp     al, 'e'
        je      exit
        cmp     al, 'x'
        jne     1b
        call    protect                 # real mode does not reach where there is nothing
        .byte   0x66, 0xea              # a far jump to 0x08:0xe0000000
        .long   0xe0000000
        .word   8
hang:
        cli
        hlt
exit:
        mov     dx, 0x501
        mov     al, 16                  # 2 * 16 + 1
        out     dx, al
        jmp     stand
power_off:
        mov     dx, 0x604
        mov     ax, 0x2000
        out     dx, ax
        jmp     stand
panic:
        mov     al, 1
        jmp     2f
crash_kernel:
        mov     al, 2
2:      mov     dx, 0x505
        out     dx, al
        cmp     al, 1
        je      stand
reset:
        mov     al, 0xfe
        out     0x64, al
        jmp     stand
triple_fault:
        call    protect                 # KVM does not get so far in real mode
        ljmp    8, offset 4f
        .code32
4:      mov     eax, 16
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     fs, eax
        mov     gs, eax
        lidt    none
        ud2
        .code16
watchdog:
        mov     dx, 0x443               # the time is 2 * (15 - n) seconds
        mov     al, 14
        out     dx, al
        jmp     stand
write:
        mov     ax, 0x0301              # one sector
        mov     cx, 1                   # the first of the last track, far from what the file has room for
        mov     dh, 15
        mov     dl, [drive]
        mov     bx, 0x8000
        int     0x13
        jc      write
        mov     al, '+'
        call    print
        mov     cx, 0x40                # a pause that the BIOS knows: 4 ms
        mov     ah, 0x86
        mov     cx, 0
        mov     dx, 4000
        int     0x15
        jmp     write
stand:
        sti
        hlt
        jmp     stand
protect:
        cli
        lgdt    table
        mov     eax, 1
        mov     cr0, eax
        ret
print:
        mov     ah, al
        mov     dx, 0x3fd
3:      in      al, dx
        test    al, 0x20
        jz      3b
        mov     al, ah
        mov     dx, 0x3f8
        out     dx, al
        ret
drive:  .byte   0
descriptors:
        .quad   0, 0x00cf9a000000ffff, 0x00cf92000000ffff
table:  .word   23
        .long   descriptors
none:   .word   0
        .long   0
        .org    510
        .word   0xaa55
