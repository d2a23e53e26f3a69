"""What is installed, what this machine has and how fast it is, and what to do about what is missing."""

from nextword.doctor.native import Native
from nextword.doctor.parts import Extra
from nextword.doctor.report import Gap, Report, examine
from nextword.machine.disks import Disk
from nextword.measuring.machine_speed import MachineSpeed

__all__ = ["Disk", "Extra", "Gap", "MachineSpeed", "Native", "Report", "examine"]
