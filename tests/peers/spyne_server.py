"""A SOAP server built on spyne: python spyne_server.py 11|12; prints its port and makes its WSDL itself."""

import sys
from datetime import date
from decimal import Decimal as D
from wsgiref.simple_server import WSGIRequestHandler, make_server

from spyne import Application, Array, ComplexModel, Date, Decimal, Fault, Integer, ServiceBase, Unicode, rpc
from spyne.protocol.soap import Soap11, Soap12
from spyne.server.wsgi import WsgiApplication


class Slot(ComplexModel):
    __namespace__ = "urn:spyne"
    no = Unicode
    fee = Decimal
    day = Date
    remark = Unicode(nillable=True, min_occurs=1)


class His(ServiceBase):
    @rpc(Unicode, Integer, _returns=Array(Slot))
    def find(ctx, dept, count):
        if dept == "FULL":
            raise Fault("Client.Full", "号源已满")
        return [Slot(no=dept + str(n), fee=D("1.50"), day=date(2026, 1, 16)) for n in range(count)]

    @rpc(Array(Slot), _returns=Decimal)
    def total(ctx, slots):
        return sum((slot.fee for slot in slots), D(0))


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


protocol = {"11": Soap11, "12": Soap12}[sys.argv[1]]
application = Application(
    [His], "urn:spyne", name="His", in_protocol=protocol(validator="lxml"), out_protocol=protocol()
)
server = make_server("127.0.0.1", 0, WsgiApplication(application), handler_class=Quiet)
sys.stdout.write(f"{server.server_port}\n")
sys.stdout.flush()
server.serve_forever()
