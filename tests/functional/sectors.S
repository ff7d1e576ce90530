# Four guests of one boot sector each: how a guest rests or runs, with interrupts on or off.
#
#   --defsym INTERRUPTS=1 --defsym REST=1   an idle guest: sti; hlt, woken by the timer 18.2 times a second
#   --defsym INTERRUPTS=1 --defsym REST=0   a busy one: runs in a circle and takes the timer's interrupts
#   --defsym INTERRUPTS=0 --defsym REST=1   one that rests for good: cli; hlt
#   --defsym INTERRUPTS=0 --defsym REST=0   one that hangs: runs in a circle, and nothing can interrupt it
#
# Each prints `r` on the first serial port when it has been loaded, idles for some two seconds as a healthy guest
# does, prints `g`, and goes on as it is meant to.

        .intel_syntax noprefix
        .code16

        .set    COM1,       0x3f8
        .set    RTC,        0x70        # the real-time clock: register, and after it its value; register 0: seconds
        .set    WAIT,       3           # The timer's ticks are no measure: KVM makes up for those that were missed.

        .globl  _start
_start:
        ljmp    0, offset main          # some firmware arrives as 07c0:0000; make it 0000:7c00
main:
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00
        mov     dx, COM1
        mov     al, 'r'
        out     dx, al
        mov     cx, WAIT
        mov     bl, 0xff
1:      sti
        hlt
        xor     al, al
        out     RTC, al
        in      al, RTC + 1
        cmp     al, bl
        je      1b
        mov     bl, al
        loop    1b
        mov     dx, COM1
        mov     al, 'g'
        out     dx, al
        .if     INTERRUPTS == 0
        cli
        .endif
2:      .if     REST
        hlt
        .endif
        jmp     2b

        .org    510
        .word   0xaa55
