"""FHIR JSON bytes <-> resource (a dict with ``resourceType``), validation, and what mappings ask of a Bundle.

Decimals keep their digits (12.00 stays 12.00), as FHIR demands. FHIR XML is not read. R4 (4.0.1) and R5 (5.0.0).

Validation uses the models of fhir.resources, which has R5 and R4B (4.3.0) but no R4. R4B differs from R4 in this, and
what differs is never judged by the wrong shape but reported as not checkable (``NOT_CHECKABLE``):
- gone in R4B: EffectEvidenceSynthesis, RiskEvidenceSynthesis, MedicinalProduct and its nine parts,
  SubstanceSpecification, SubstanceNucleicAcid, SubstancePolymer, SubstanceProtein, SubstanceReferenceInformation,
  SubstanceSourceMaterial;
- rewritten in R4B: DeviceDefinition, Evidence, EvidenceVariable;
- wider in R4B, accepted here although R4 has not got it: types added by R4B as contained resources, ActivityDefinition
  and PlanDefinition subjects by canonical, CodeableReference and RatioRange as values of extensions.
Structure, types, cardinality and the codes of status-like elements are checked; invariants, profiles, terminology and
references are not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from esb.codecs import DecodeError, EncodeError, json
from esb.model import Tree

Release: TypeAlias = Literal["R4", "R5"]
Resource: TypeAlias = dict[str, Tree]

MAX_DEPTH = 64
"""Questionnaires inside contained resources inside Bundles nest deeper than business JSON does."""

_BOTH = """
Account ActivityDefinition AdverseEvent AllergyIntolerance Appointment AppointmentResponse AuditEvent Basic
Binary BiologicallyDerivedProduct BodyStructure Bundle CapabilityStatement CarePlan CareTeam ChargeItem
ChargeItemDefinition Claim ClaimResponse ClinicalImpression CodeSystem Communication CommunicationRequest
CompartmentDefinition Composition ConceptMap Condition Consent Contract Coverage CoverageEligibilityRequest
CoverageEligibilityResponse DetectedIssue Device DeviceDefinition DeviceMetric DeviceRequest DiagnosticReport
DocumentReference Encounter Endpoint EnrollmentRequest EnrollmentResponse EpisodeOfCare EventDefinition Evidence
EvidenceVariable ExampleScenario ExplanationOfBenefit FamilyMemberHistory Flag Goal GraphDefinition Group
GuidanceResponse HealthcareService ImagingStudy Immunization ImmunizationEvaluation ImmunizationRecommendation
ImplementationGuide InsurancePlan Invoice Library Linkage List Location Measure MeasureReport Medication
MedicationAdministration MedicationDispense MedicationKnowledge MedicationRequest MedicationStatement
MessageDefinition MessageHeader MolecularSequence NamingSystem NutritionOrder Observation ObservationDefinition
OperationDefinition OperationOutcome Organization OrganizationAffiliation Parameters Patient PaymentNotice
PaymentReconciliation Person PlanDefinition Practitioner PractitionerRole Procedure Provenance Questionnaire
QuestionnaireResponse RelatedPerson ResearchStudy ResearchSubject RiskAssessment Schedule SearchParameter
ServiceRequest Slot Specimen SpecimenDefinition StructureDefinition StructureMap Subscription Substance
SubstanceNucleicAcid SubstancePolymer SubstanceProtein SubstanceReferenceInformation SubstanceSourceMaterial
SupplyDelivery SupplyRequest Task TerminologyCapabilities TestReport TestScript ValueSet VerificationResult
VisionPrescription
"""
_R4_GONE_IN_R4B = """
EffectEvidenceSynthesis MedicinalProduct MedicinalProductAuthorization MedicinalProductContraindication
MedicinalProductIndication MedicinalProductIngredient MedicinalProductInteraction MedicinalProductManufactured
MedicinalProductPackaged MedicinalProductPharmaceutical MedicinalProductUndesirableEffect RiskEvidenceSynthesis
SubstanceSpecification
"""
_R4 = """
CatalogEntry DeviceUseStatement DocumentManifest Media RequestGroup ResearchDefinition ResearchElementDefinition
"""
_R5 = """
ActorDefinition AdministrableProductDefinition ArtifactAssessment BiologicallyDerivedProductDispense Citation
ClinicalUseDefinition ConditionDefinition DeviceAssociation DeviceDispense DeviceUsage EncounterHistory
EvidenceReport FormularyItem GenomicStudy ImagingSelection Ingredient InventoryItem InventoryReport
ManufacturedItemDefinition MedicinalProductDefinition NutritionIntake NutritionProduct PackagedProductDefinition
Permission RegulatedAuthorization RequestOrchestration Requirements SubscriptionStatus SubscriptionTopic
SubstanceDefinition TestPlan Transport
"""
TYPES: dict[Release, frozenset[str]] = {
    "R4": frozenset(f"{_BOTH} {_R4} {_R4_GONE_IN_R4B}".split()),
    "R5": frozenset(f"{_BOTH} {_R5}".split()),
}
"""Names of the resources of each release (hl7.org/fhir/R4/resourcelist.html, hl7.org/fhir/R5/resourcelist.html)."""

NOT_CHECKABLE: dict[Release, frozenset[str]] = {
    "R4": frozenset(
        f"""{_R4_GONE_IN_R4B} DeviceDefinition Evidence EvidenceVariable SubstanceNucleicAcid SubstancePolymer
        SubstanceProtein SubstanceReferenceInformation SubstanceSourceMaterial""".split()
    ),
    "R5": frozenset(),
}

_CODED = {
    "status", "gender", "use", "intent", "mode", "docStatus", "lifecycleStatus", "participantStatus", "severity",
    "priority", "comparator", "criticality",
}  # fmt: skip
"""Elements whose ``enum_values`` in fhir.resources are complete unless they end in '+'; others are examples there."""


class Issue(NamedTuple):
    """One finding of ``validate``. The message never repeats a value, which may be about a patient."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def decode(data: bytes, *, max_depth: int = MAX_DEPTH) -> Resource:
    """The resource in ``data``; raises ``DecodeError`` for what is not strict JSON or has no ``resourceType``."""
    tree = json.decode(data, max_depth=max_depth)
    if fault := _not_a_resource(tree):
        raise DecodeError(fault)
    resource: Resource = tree
    return resource


def encode(resource: Resource) -> bytes:
    """FHIR JSON, compact; raises ``EncodeError`` for what is not a resource or has no JSON form."""
    if fault := _not_a_resource(resource):
        raise EncodeError(fault, "$")
    return json.encode(resource)


def _not_a_resource(tree: Tree) -> str:
    if not isinstance(tree, dict):
        return f"a FHIR resource is an object, not {'an array' if isinstance(tree, list) else 'a single value'}"
    kind = tree.get("resourceType")
    if not isinstance(kind, str) or not kind:
        return "a FHIR resource needs 'resourceType'"
    return ""


def validate(resource: Resource, release: Release = "R4") -> list[Issue]:
    """Every finding against the release's model, in document order; empty when there is none.

    Needs fhir.resources, imported on first use (half a second; ``prepare`` does it ahead of time).
    """
    kind = str(resource.get("resourceType"))
    if kind not in TYPES[release]:
        return [Issue(kind, f"FHIR {release} has no resource of this name")]
    if kind in NOT_CHECKABLE[release]:
        return [Issue(kind, f"cannot be checked: its {release} shape is not among the models of fhir.resources")]
    from pydantic import ValidationError

    model = model_finder(release)(kind)
    try:
        instance = model.model_validate(resource)
    except ValidationError as error:
        return [_issue(kind, detail["loc"], detail["msg"]) for detail in error.errors(include_url=False)]
    return [Issue(path, message) for path, message in _wrong_codes(instance, kind)]


def elements(kind: str, release: Release = "R4") -> frozenset[str]:
    """The names that may stand at the top of a resource of this type; empty when they are not known."""
    if kind not in TYPES[release] - NOT_CHECKABLE[release]:
        return frozenset()
    fields = model_finder(release)(kind).model_fields
    return frozenset({"resourceType", *(field.alias or name for name, field in fields.items())} - {"fhir_comments"})


def prepare(release: Release) -> None:
    """Import the models of a release now, so that the first validation does not wait for it."""
    model_finder(release)("Bundle")


@functools.cache
def model_finder(release: Release) -> Callable[[str], Any]:
    """Name of a resource or data type -> its model; the models are imported here."""
    if release == "R4":
        from fhir.resources.R4B import get_fhir_model_class

        return get_fhir_model_class
    from fhir.resources import get_fhir_model_class as get_r5_model_class

    return get_r5_model_class


def _issue(kind: str, loc: Sequence[str | int], message: str) -> Issue:
    path = kind + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return Issue(path, message)


def _wrong_codes(model: Any, path: str) -> Iterator[tuple[str, str]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name, None)
        if value is None:
            continue
        step = f"{path}.{field.alias or name}"
        allowed = all_codes(name, field.json_schema_extra)
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            if hasattr(type(item), "model_fields"):
                yield from _wrong_codes(item, f"{step}[{index}]" if isinstance(value, list) else step)
            elif allowed and item not in allowed:
                yield step, f"is not one of {', '.join(allowed)}"


def all_codes(name: str, extra: Any) -> list[str]:
    """Every code of a required binding, [] where the models do not know them all.

    ``extra`` is a field's ``json_schema_extra``.
    """
    values = (extra or {}).get("enum_values") if name in _CODED else None
    return [] if not values or "+" in values else list(values)


def entries(bundle: Resource) -> list[Resource]:
    """The entries of a Bundle, [] when it has none."""
    found = bundle.get("entry")
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def resources(bundle: Resource, type: str) -> list[Resource]:
    """The resources of one type in a Bundle, in order; a resource that is not a Bundle counts as a Bundle of itself."""
    if bundle.get("resourceType") != "Bundle":
        return [bundle] if bundle.get("resourceType") == type else []
    return [found for entry in entries(bundle) if (found := _resource(entry)).get("resourceType") == type]


def resolve(bundle: Resource, reference: Tree) -> Resource | None:
    """What a reference (text, or a Reference element) points at inside the Bundle; None when it is not there.

    Knows ``Type/id``, ``Type/id/_history/version``, absolute URLs, ``urn:uuid:`` and ``#id`` (contained, when just one
    resource of the Bundle has it). Reads nothing from the network.
    """
    text = reference.get("reference") if isinstance(reference, dict) else reference
    if not isinstance(text, str) or not text:
        return None
    if text.startswith("#"):
        return _contained(bundle, text[1:])
    plain, _, version = text.partition("/_history/")
    for entry in entries(bundle):
        resource = _resource(entry)
        if not _is_at(entry, resource, plain):
            continue
        if not version or resource.get("meta", {}).get("versionId") == version:
            return resource
    return None


def extension(resource: Resource, url: str) -> Tree:
    """The value of the first extension with this URL; the extension itself when made of others; None when absent."""
    for item in resource.get("extension") or ():
        if item.get("url") == url:
            return next((value for name, value in item.items() if name.startswith("value")), item)
    return None


def merge_pages(bundles: Iterable[Resource]) -> Resource:
    """The pages of one search as one searchset: every entry once, the first page's ``total``, no link but ``self``."""
    pages = list(bundles)
    if not pages:
        return {"resourceType": "Bundle", "type": "searchset", "entry": []}
    merged = {name: value for name, value in pages[0].items() if name not in ("entry", "link")}
    if links := [link for link in pages[0].get("link") or () if link.get("relation") == "self"]:
        merged["link"] = links
    found: dict[Any, Resource] = {}
    for entry in (entry for page in pages for entry in entries(page)):
        found.setdefault(_identity(entry), entry)
    merged["entry"] = list(found.values())
    return merged


def _resource(entry: Resource) -> Resource:
    found = entry.get("resource")
    return found if isinstance(found, dict) else {}


def _is_at(entry: Resource, resource: Resource, reference: str) -> bool:
    kind, slash, identifier = reference.rpartition("/")
    url = str(entry.get("fullUrl", ""))
    if url == reference:
        return True
    if not slash or ":" in kind:
        return False
    if resource.get("id") == identifier and resource.get("resourceType") == kind:
        return True
    return url.endswith("/" + reference)


def _contained(bundle: Resource, identifier: str) -> Resource | None:
    holders = [bundle, *(_resource(entry) for entry in entries(bundle))]
    inside = [item for holder in holders for item in holder.get("contained") or () if item.get("id") == identifier]
    return inside[0] if len(inside) == 1 else None


def _identity(entry: Resource) -> Any:
    resource = _resource(entry)
    kind, identifier = resource.get("resourceType"), resource.get("id")
    if not identifier:
        return entry.get("fullUrl") or id(entry)
    return entry.get("fullUrl"), kind, identifier, resource.get("meta", {}).get("versionId")
