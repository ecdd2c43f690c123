"""What can be wrong with a mapping's action and field paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from esb.codecs.hl7v2 import parse

_ACTION = re.compile(r"[A-Z][A-Z0-9]{2}\^[A-Z][A-Z0-9]{2}(\^[A-Z][A-Z0-9]{2}(_[A-Z0-9]{2,4})?)?")

# A list of words reads better in rows than one a line.
# ruff: noqa: SIM905
_SEGMENTS = frozenset(
    """ABS ACC ADD ADJ AFF AIG AIL AIP AIS AL1 APR ARQ ARV AUT BHS BLC BLG BPO BPX BTS BTX BUI CDM CDO CER CM0 CM1 CM2
    CNS CON CSP CSR CSS CTD CTI CTR DB1 DEV DG1 DMI DON DPS DRG DSC DSP DST ECD ECR EDU EQL EQP EQU ERQ ERR EVN FAC FHS
    FT1 FTS GOL GP1 GP2 GT1 IAM IAR IIM ILT IN1 IN2 IN3 INV IPC IPR ISD ITM IVC IVT LAN LCC LCH LDP LOC LRL MCP MFA MFE
    MFI MRG MSA MSH NCK NDS NK1 NPU NSC NST NTE OBR OBX ODS ODT OH1 OH2 OH3 OH4 OM1 OM2 OM3 OM4 OM5 OM6 OM7 OMC ORC ORG
    OVR PAC PAX PCE PCR PD1 PDA PDC PEO PES PID PKG PM1 PMT PR1 PRA PRB PRC PRD PRT PSG PSH PSL PSS PTH PV1 PV2 PYE QAK
    QID QPD QRD QRF QRI RCP RDF RDT REL RF1 RFI RGS RGV RMI ROL RQ1 RQD RXA RXC RXD RXE RXG RXO RXR RXV SAC SCD SCH SCP
    SDD SFT SGH SGT SHP SID SLT SPM SPR STF STZ TCC TCD TQ1 TQ2 TXA UAC UB1 UB2 URD URS VAR VND VTQ""".split()
)

_MESSAGES = frozenset(
    """ACK ADR ADT BAR BPS BRP BRT BTS CCF CCI CCM CCQ CCU CQU CRM CSU DBC DBU DFT DOC DSR EAC EAN EAR EDR EHC EQQ ERP
    ESR ESU INR INU IPC LSR LSU MCF MDM MFD MFK MFN MFQ MFR NMD NMQ NMR OMB OMD OMG OMI OML OMN OMP OMQ OMS OPL OPR OPU
    ORA ORB ORD ORF ORG ORI ORL ORM ORN ORP ORR ORS ORU ORX OSM OSQ OSR OUL PEX PGL PIN PMU PPG PPP PPR PPT PPV PRR PTR
    QBP QCK QCN QCR QRF QRY QSB QSX QVR RAR RAS RCI RCL RDE RDR RDS RDY REF RER RGR RGV ROR RPA RPI RPL RPR RQA RQC RQI
    RQP RRA RRD RRE RRG RRI RSP RTB SCN SDN SDR SIU SLN SLR SMD SPQ SQM SQR SRM SRR SSR SSU STC STI SUR TBR TCR TCU UDM
    VQQ VXQ VXR VXU VXX""".split()
)


def check(action: str, fields: Sequence[str]) -> Iterable[str]:
    """One sentence for each mistake; an action that is computed (``$``) is not judged."""
    return [*_action(action), *(sentence for field in fields for sentence in _field(field))]


def _action(action: str) -> Iterator[str]:
    if action.startswith("$"):
        return
    if not _ACTION.fullmatch(action):
        yield f"'{action}' is no HL7 message: write type^event^structure, as in QBP^Q22^QBP_Q21"
        return
    kind = action[:3]
    if kind not in _MESSAGES and not kind.startswith("Z"):
        yield f"'{kind}' is no HL7 message type{_hint(kind, _MESSAGES)}"


def _field(field: str) -> Iterator[str]:
    try:
        path = parse(field)
    except ValueError as error:
        yield str(error)
        return
    if path.segment not in _SEGMENTS and not path.segment.startswith("Z"):
        yield f"'{field}': '{path.segment}' is no HL7 segment{_hint(path.segment, _SEGMENTS)}"
    elif path.segment == "MSH" and path.field < 3:
        yield f"'{field}': the delimiters are not for a mapping to set"
    elif path.occurrence:
        yield f"'{field}': the place of a segment is its place in the list"


def _hint(word: str, known: Iterable[str]) -> str:
    """Three letters are too few for the usual distance: the same ones in another order come first, then one wrong."""

    def unlike(other: str) -> tuple[bool, int, str]:
        return sorted(word) != sorted(other), sum(a != b for a, b in zip(word, other, strict=False)), other

    nearest = min(known, key=unlike)
    differs, wrong, _ = unlike(nearest)
    return f"; did you mean {nearest}?" if not differs or wrong == 1 else "; a local one begins with Z"
