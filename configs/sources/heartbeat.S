# heartbeat: a whole guest in one boot sector.
#
# The firmware loads the first 512 bytes of the disk to address 0x7c00 and jumps there, in 16-bit real mode. That
# is all that runs: no kernel, no disk after that, no memory beyond 64 KiB. It prints a line a second on the first
# serial port, sleeps in between, and does on request what guests do to those who supervise them:
#
#   p  power off through ACPI              QMP: SHUTDOWN, reason guest-shutdown
#   e  end QEMU through isa-debug-exit     no event; QEMU exits with status 33
#   r  reset through the keyboard port     QMP: RESET, reason guest-reset
#   t  triple fault                        QMP: RESET, reason guest-reset (QEMU tells no difference)
#   c  panic through pvpanic               QMP: GUEST_PANICKED
#   h  hang: interrupts off, for ever      nothing at all, which is the trouble with hangs
#   i  ignore the power button from now on
#
# e needs `-device isa-debug-exit`, c needs `-device pvpanic`; without them these keys do nothing. The power
# button (QMP's system_powerdown) switches the guest off unless `i` was pressed before. q35 and pc both work:
# SeaBIOS puts the ACPI power management registers at 0x600 on either.
#
# scripts/build-heartbeat assembles it.

        .intel_syntax noprefix
        .code16

        .set    COM1,       0x3f8       # 16550 UART; +5 is its line status
        .set    LSR_DATA,   0x01        # ... a byte has arrived
        .set    LSR_EMPTY,  0x20        # ... the next byte may be sent
        .set    PM1_STATUS, 0x600       # ACPI PM1 event block: status, enable, then control
        .set    PM1_ENABLE, 0x602
        .set    PM1_CONTROL, 0x604
        .set    SLEEP_S5,   0x2000      # SLP_EN with sleep type 0, which QEMU takes for soft off
        .set    BUTTON,     0x100       # power button, the same bit in status and enable
        .set    BIOS_TICKS, 0x46c       # counted up by the BIOS's timer interrupt, 18.2 a second
        .set    TICKS_PER_BEAT, 18

        .globl  _start
_start:
        ljmp    0, offset main          # some firmware arrives as 07c0:0000; make it 0000:7c00
main:
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00              # the stack grows down from below this code
        cld

# Serial port: 115200 baud, 8 data bits, no parity, 1 stop bit, FIFOs on.
        mov     si, offset uart_setup
        mov     cx, (uart_setup_end - uart_setup) / 2
1:      lodsw                           # al: the register's low address byte, ah: its value
        mov     dx, COM1
        mov     dl, al
        mov     al, ah
        out     dx, al
        loop    1b

# QEMU reports the power button only to a guest that has enabled it.
        mov     dx, PM1_ENABLE
        mov     ax, BUTTON
        out     dx, ax

        mov     si, offset greeting
        call    print_line

# Sleep until an interrupt comes (the timer's, mostly), then look at what may have changed.
idle:
        sti
        hlt

        mov     dx, PM1_STATUS
        in      ax, dx
        test    ax, BUTTON
        jnz     button

        mov     dx, COM1 + 5
        in      al, dx
        test    al, LSR_DATA
        jnz     key

        mov     ax, [BIOS_TICKS]
        sub     ax, [last_beat]         # the difference is right even when the counter has wrapped
        cmp     ax, TICKS_PER_BEAT
        jb      idle
        add     [last_beat], ax

        mov     si, offset beat
        call    print
        inc     dword ptr [beats]
        mov     eax, [beats]
        call    print_number
        call    end_line
        jmp     idle

# The power button: off, or "ignored".
button:
        mov     ax, BUTTON              # status bits are cleared by writing a one
        out     dx, ax
        mov     si, offset ignored
        cmp     byte ptr [ignoring], 0
        jne     say
        mov     si, offset pressed
        call    print_line
power_off:
        mov     dx, PM1_CONTROL
        mov     ax, SLEEP_S5
        out     dx, ax
        jmp     idle                    # QEMU needs a moment to notice

say:
        call    print_line
        jmp     idle

# A key: find it in the table of pairs (key, distance of its routine) and go there.
key:
        mov     dl, COM1 & 0xff
        in      al, dx
        mov     ah, al
        mov     si, offset keys
1:      lodsb
        test    al, al
        jz      idle                    # the end of the table: not one of ours
        cmp     al, ah
        lodsb                           # (does not touch the flags)
        jne     1b
        mov     ah, 0
        add     ax, offset power_off
        jmp     ax

debug_exit:
        mov     dx, 0x501
        mov     al, 16                  # QEMU exits with 2 * 16 + 1
        out     dx, al
        jmp     idle

reset:
        mov     al, 0xfe                # keyboard controller: pulse the processor's reset line
        out     0x64, al
        jmp     idle

triple_fault:
        lidt    no_interrupts           # a breakpoint without a handler faults, so does that fault's
        int3                            # handler, and at the third the processor gives up

panic:
        mov     dx, 0x505
        mov     al, 1                   # PVPANIC_PANICKED
        out     dx, al
        jmp     idle

hang:
        mov     si, offset hanging
        call    print_line
        cli
1:      hlt
        jmp     1b

ignore:
        mov     byte ptr [ignoring], 1
        mov     si, offset ignores
        jmp     say

# print_line: the text at si, up to its zero byte, and the end of the line.
print_line:
        call    print
end_line:
        mov     si, offset line_end
print:
        lodsb
        test    al, al
        jz      1f
        call    print_char
        jmp     print

# print_number: eax in decimal; the remainders come lowest first, so they go over the stack.
print_number:
        xor     cx, cx
        mov     ebx, 10
2:      xor     edx, edx
        div     ebx
        push    dx
        inc     cx
        test    eax, eax
        jnz     2b
3:      pop     ax
        add     al, '0'
        call    print_char
        loop    3b
1:      ret

# print_char: al, as soon as the port takes it.
print_char:
        mov     ah, al
        mov     dx, COM1 + 5
4:      in      al, dx
        test    al, LSR_EMPTY
        jz      4b
        mov     dl, COM1 & 0xff
        mov     al, ah
        out     dx, al
        ret

uart_setup:                             # low byte of the register's address, value
        .byte   0xfb, 0x80              # line control: show the divisor in place of data and interrupts
        .byte   0xf8, 0x01              # divisor 1: 115200 baud
        .byte   0xf9, 0x00
        .byte   0xfb, 0x03              # 8 data bits, no parity, 1 stop bit; data and interrupts are back
        .byte   0xf9, 0x00              # no interrupts: the timer's tick is often enough to look
        .byte   0xfa, 0x07              # FIFOs on and empty
        .byte   0xfc, 0x03              # terminal ready, request to send
uart_setup_end:

keys:
        .byte   'p', 0
        .byte   'e', debug_exit - power_off
        .byte   'r', reset - power_off
        .byte   't', triple_fault - power_off
        .byte   'c', panic - power_off
        .byte   'h', hang - power_off
        .byte   'i', ignore - power_off
        .byte   0

no_interrupts:
        .word   0                       # an interrupt table of no bytes
        .long   0

greeting:
        .ascii  "heartbeat: keys p=power-off e=debug-exit r=reset t=triple-fault "
        .asciz  "c=panic h=hang i=ignore-power-button"
beat:   .asciz  "beat "
pressed:
        .asciz  "power button"
ignored:
        .asciz  "ignored"
ignores:
        .asciz  "ignoring the power button"
hanging:
        .asciz  "hang"
line_end:
        .asciz  "\r\n"

beats:  .long   0
last_beat:
        .word   0
ignoring:
        .byte   0

        .org    510                     # the assembler complains here if all this has become too long
        .word   0xaa55                  # what makes a sector bootable
